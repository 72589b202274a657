"""KMS key policies: parsed, evaluated, explained and written (pure)."""
