"""What the commands share: options, ciphertexts, batches, output and progress."""
