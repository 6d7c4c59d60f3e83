"""Courses of two years under clozapine, played visit by visit under every policy: how often does the service speak, and does it speak when it must?

``courses.toml`` tells the courses, ``dangers.toml`` what may happen on one of their days. ``python -m tools.courses`` (``make courses``) plays
them through the judgement that an EHR gets, without server, database or clock.
"""
