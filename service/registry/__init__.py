"""What is remembered: the audit trail of calls, the cards shown, feedback."""
