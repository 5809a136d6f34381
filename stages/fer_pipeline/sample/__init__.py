"""How to tell the embedded sample from other data: small, as many stages ask it."""
