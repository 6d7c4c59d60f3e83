"""A patient's case: treatment, counts, gaps and what follows from them."""
