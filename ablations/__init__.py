"""The ablation driver: grid file -> plan -> runs."""
