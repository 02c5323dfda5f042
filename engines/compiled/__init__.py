"""The hot modules as C extensions: optional, automatic, never stale. Standard library only, but for the build."""
