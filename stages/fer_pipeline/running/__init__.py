"""How scripts start, end and are timed. It changes no result, only what files say of their origin; dep of no stage."""
