"""What happens on a hook: gather, read, evaluate, write cards, record."""
