"""The parts that optimizers are made of: group statistics, team values, and clipped surrogate losses."""
