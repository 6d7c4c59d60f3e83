"""What a site can choose: one shape of its options, one rule by which they are inherited, and the site they make."""
