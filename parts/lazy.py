"""Members of a registry that are imported where they are used.

MODELS = {"vae": "vae:VAE", "vqvae": "parts.model.vqvae:VQVAE"}
member(MODELS, "vqvae")  # imports parts/model/vqvae.py
"""

import importlib


def member(registry, name):
    """The member `name` of a registry; text "module:attribute" stands for what it names."""
    found = registry[name]
    if not isinstance(found, str):
        return found
    module, _, attribute = found.partition(":")
    return getattr(importlib.import_module(module), attribute)
