package store

// Capabilities says which conditional requests a server honours, atomically.
// Package probe finds out. The zero value honours none.
type Capabilities struct {
	// PutIfAbsent: of concurrent Puts with IfAbsent exactly one succeeds.
	PutIfAbsent bool
	// PutIfMatch: a Put on another version, or on an absent key, changes
	// nothing; of concurrent Puts on one version exactly one succeeds.
	PutIfMatch bool
	// CompleteIf: Complete honours both preconditions.
	CompleteIf bool
	// DeleteIf: Delete of another version keeps the object.
	DeleteIf bool
	// CopySourceIf: Copy of another version than SourceIf copies nothing.
	CopySourceIf bool
	// CopyIf: Copy honours both preconditions on the destination.
	CopyIf bool
}

// Missing names what Causeway cannot do without and the server does not have;
// nil if there is nothing. What else is missing is worked around.
func (c Capabilities) Missing() []string {
	var missing []string
	if !c.PutIfAbsent {
		missing = append(missing, "PutObject with If-None-Match: * (exclusive create)")
	}
	if !c.PutIfMatch {
		missing = append(missing, "PutObject with If-Match (compare and swap)")
	}
	return missing
}

// Lacking names everything that the server does not have, for reports.
func (c Capabilities) Lacking() []string {
	lacking := c.Missing()
	for _, f := range []struct {
		has  bool
		name string
	}{
		{c.CompleteIf, "CompleteMultipartUpload with If-None-Match and If-Match"},
		{c.DeleteIf, "DeleteObject with If-Match"},
		{c.CopySourceIf, "CopyObject with x-amz-copy-source-if-match"},
		{c.CopyIf, "CopyObject with If-None-Match and If-Match"},
	} {
		if !f.has {
			lacking = append(lacking, f.name)
		}
	}
	return lacking
}
