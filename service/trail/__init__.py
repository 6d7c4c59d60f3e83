"""The trail of calls: who asked what, what was answered, what became of it."""
