"""What a Nitro Enclave proves about itself, and what relying parties need to check it."""
