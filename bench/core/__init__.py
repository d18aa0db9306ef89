"""What is made of measurements: statistics, bars and verdicts, tables, plots. Pure."""
