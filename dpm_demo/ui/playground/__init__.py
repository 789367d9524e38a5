"""Pictures of order that one can touch: particles in the plane, and one dimension step by step."""
