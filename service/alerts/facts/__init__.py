"""What the rules may know about a patient."""
