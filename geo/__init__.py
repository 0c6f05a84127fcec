"""Where and when: datum, fixes, motion, areas and the pipeline that a position goes through.

The modules `datum`, `fixes`, `motion`, `areas`, `pipeline` and `gpx` are pure: no database, no clock, no
network. Coordinates are degrees, longitude before latitude; times are aware UTC datetimes; units stand in
the names.
"""
