package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/causewayfs/causeway/locks"
)

// Version is that of the format. It is part of it and never means anything
// else.
const Version = 1

// numbers is more than fences and arrivals can ever be.
const numbers = 1 << 63

// Errors of Decode.
var (
	ErrNewer   = errors.New("record was written by a newer version")
	ErrCorrupt = errors.New("record is corrupt")
)

// Encode returns the record as it is written.
func (r Record) Encode() ([]byte, error) { return json.Marshal(r) }

// Decode reads a record. Errors are ErrNewer and ErrCorrupt, with details.
func Decode(data []byte) (Record, error) {
	var version struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if version.V > Version {
		return Record{}, fmt.Errorf("%w: %d", ErrNewer, version.V)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := r.Check(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return r, nil
}

// Check tells what must not be in a record.
func (r Record) Check() error {
	if r.V != Version || r.Space > locks.Record {
		return fmt.Errorf("version %d, space %d", r.V, r.Space)
	}
	if r.Fence >= numbers || r.Seq >= numbers {
		return fmt.Errorf("fence %d, arrival %d: too large to go on", r.Fence, r.Seq)
	}
	for i, e := range slices.Concat(r.Holders, r.Queue) {
		holder := i < len(r.Holders)
		switch {
		case e.Session == "" || e.Ticket == "":
			return fmt.Errorf("entry of nobody: %+v", e)
		case e.Start > e.End || e.Seq > r.Seq || e.Seq == 0:
			return fmt.Errorf("entry out of range: %+v", e)
		case r.Space == locks.Whole && (e.Start != 0 || e.End != locks.MaxOffset):
			return fmt.Errorf("range of a whole path: %+v", e)
		case holder && (e.Fence == 0 || e.Fence > r.Fence):
			return fmt.Errorf("fence out of range: %+v", e)
		case !holder && e.Fence != 0:
			return fmt.Errorf("fence of one that waits: %+v", e)
		}
	}
	for i, a := range r.Holders {
		for _, b := range r.Holders[i+1:] {
			if a.Session != b.Session && Conflict(a, b) {
				return fmt.Errorf("held together: %+v and %+v", a, b)
			}
		}
	}
	return nil
}
