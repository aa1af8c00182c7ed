"""Where the engine runs: by itself (`native`), or as a plugin of iNNvestigate (`plugin`)."""
