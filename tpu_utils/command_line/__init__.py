"""What every script does around its work: flags, mistakes, progress, the wish to stop."""
