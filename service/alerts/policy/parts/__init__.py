"""What a policy is made of: one module for each thing that a file speaks of (clinical.md section 1)."""
