"""Patients watched: roster, sweep, outbox, delivery, work list."""
