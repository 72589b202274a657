"""The commands of kmstool-sim, one module each; libraries load when a command runs, not for its help (internal)."""
