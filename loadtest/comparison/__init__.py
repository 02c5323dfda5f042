"""The comparison of gateways on whole programs: same workers, programs and arrivals, one system at a time."""
