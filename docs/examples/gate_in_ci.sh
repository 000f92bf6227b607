#!/bin/sh
# Hold scores against a recorded baseline, in any CI that runs a shell.
#
#     sh docs/examples/gate_in_ci.sh RESULTS BASELINE
#
# RESULTS: a run folder, sample logs of lm-evaluation-harness, JSON lines or parquet with `id` and `score`.
# The first time there is no baseline: it is recorded, to be looked at and committed.
results=$1
baseline=$2

if [ ! -f "$baseline" ]; then
    groupwise gate "$results" --record --baseline "$baseline" --tolerance 0.02 || exit
    echo "recorded: look at $baseline and commit it"
    exit 0
fi

groupwise gate "$results" --baseline "$baseline" --junit gate.xml --markdown gate.md
code=$?
case $code in
    0) echo "pass: no worse than the tolerance" ;;
    1) echo "regression: see gate.md" ;;
    3) echo "inconclusive: gate.md says what would decide it"; code=0 ;; # a warning, not a failure; your choice
    *) echo "the results cannot be compared with the baseline" ;;
esac
exit $code
