package main

import (
	"fmt"
	"path"
	"strings"
)

// target is a bucket, or a prefix of one, as given on the command line.
type target struct {
	Bucket string
	Prefix string // without slashes at its ends; empty for the whole bucket
}

// String returns the form that parseTarget reads.
func (t target) String() string {
	s := "s3://" + t.Bucket
	if t.Prefix != "" {
		s += "/" + t.Prefix
	}
	return s
}

// parseTarget reads s3://BUCKET or s3://BUCKET/PREFIX.
func parseTarget(text string) (target, error) {
	rest, ok := strings.CutPrefix(text, "s3://")
	if !ok {
		return target{}, &usageError{fmt.Errorf("%q is not a bucket: write s3://BUCKET or s3://BUCKET/PREFIX", text)}
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	if bucket == "" {
		return target{}, &usageError{fmt.Errorf("%q names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX", text)}
	}
	prefix = strings.Trim(prefix, "/")
	// Keys below such a prefix could not be told from those of another one.
	if prefix != "" && (path.Clean(prefix) != prefix || strings.HasPrefix(prefix+"/", "../")) {
		return target{}, &usageError{fmt.Errorf("prefix %q: empty, \".\" and \"..\" components cannot be shown as directories", prefix)}
	}
	return target{Bucket: bucket, Prefix: prefix}, nil
}
