package fuse

// renameNoReplace is RENAME_NOREPLACE of renameat2(2).
const renameNoReplace = 1

// xattrFlags returns the flags of setxattr(2) as vfs knows them.
func xattrFlags(flags uint32) int { return int(flags) }
