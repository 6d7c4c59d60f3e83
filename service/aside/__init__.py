"""Large calls are judged aside: in processes that can be ended, so that one call's work is nobody else's wait."""
