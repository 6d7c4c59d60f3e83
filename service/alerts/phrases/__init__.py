"""Facts of a case in words, as several rules say them: sentences and phrases of the catalogue with what stands in them."""
