"""What container runtimes read: their configuration files rendered, merged, parsed and judged.

Pure: text and documents come in, text, documents and findings go out. Who
reads and writes the files is the command line.
"""
