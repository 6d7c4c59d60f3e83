"""Results that arrive between visits: taken in, kept until they are judged, judged at once (docs/results.md)."""
