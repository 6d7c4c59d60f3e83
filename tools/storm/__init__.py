"""The service under attack and outage: two sites, steady calls, one fault after the other; what does the *other* site notice?

``make storm`` plays three minutes and writes ``docs/security/storm.md``. Everything is real: started processes of ``clozapine-cds serve --workers 2``,
PostgreSQL, EHRs with FHIR and key servers, signed calls.
"""
