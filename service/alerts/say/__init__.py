"""What is said: findings, their codes, words and cards, and when to be silent."""
