"""The ground floor: what every script does at its edges, params.yaml, and the machine."""
