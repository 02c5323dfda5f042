"""Values on their way between calls: declared, waited for, filled in, committed."""
