"""Where rollouts come from: a transformers model, vLLM, an endpoint over HTTP, or stored rollouts.

``contract`` says what all of them promise; nothing here is imported until it is used.
"""
