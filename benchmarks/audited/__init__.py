"""Models whose adaptive robustness is known, and what an audit says of claims about them: `benchmarks.audits`."""
