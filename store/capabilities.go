package store

// Capabilities says which conditional requests a server honours, atomically.
// Package probe finds out.
type Capabilities struct {
	PutIfAbsent  bool // PutObject with If-None-Match: *
	PutIfMatch   bool // PutObject with If-Match
	CompleteIf   bool // CompleteMultipartUpload with either
	DeleteIf     bool // DeleteObject with If-Match
	CopySourceIf bool // CopyObject with x-amz-copy-source-if-match
	CopyIf       bool // CopyObject with either on the destination
}

// Missing names what the server lacks of what Causeway cannot do without. The
// other capabilities have workarounds.
func (c Capabilities) Missing() []string {
	var missing []string
	if !c.PutIfAbsent {
		missing = append(missing, "PutObject with If-None-Match: * (exclusive creation)")
	}
	if !c.PutIfMatch {
		missing = append(missing, "PutObject with If-Match (edits in place)")
	}
	return missing
}
