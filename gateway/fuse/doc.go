// Package fuse mounts vfs.Operations with FUSE.
package fuse
