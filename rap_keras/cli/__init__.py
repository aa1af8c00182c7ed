"""The command `rap-keras`: what it takes, prints and writes; the work is done by the other packages."""
