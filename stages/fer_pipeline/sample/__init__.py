"""How to tell the embedded sample from other data: small, as `prepare`, `compare` and `export` all ask it."""
