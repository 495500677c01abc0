package vfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/causewayfs/causeway/vfs/journal"
)

// These begin the ids of kept versions that are in the journal.
const (
	stagedID = "staged-"
	unsentID = "unsent-"
)

// Unsent counts what a gateway that has ended acknowledged and did not send to
// S3, other than temporary files: the next one does. While one runs it is 0.
func Unsent(dir string) (int, error) {
	if inUse(dir) {
		return 0, nil
	}
	n := 0
	err := leftIntents(dir, func(_ journal.ID, it intent) {
		if it.Op != intentStaged {
			n++
		}
	})
	return n, err
}

// leftIntents calls fn for what is in the journal.
func leftIntents(dir string, fn func(journal.ID, intent)) error {
	left, err := journal.Load(filepath.Join(dir, "journal"))
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	for _, l := range left {
		it, err := decodeIntent(l.Body)
		if err != nil {
			return err
		}
		fn(l.ID, it)
	}
	return nil
}

// keptStaged lists the files in the journal of a gateway that has ended.
func keptStaged(dir string) ([]KeptVersion, error) {
	if inUse(dir) {
		return nil, nil
	}
	var all []KeptVersion
	err := leftIntents(dir, func(id journal.ID, it intent) {
		k := KeptVersion{ID: strconv.FormatUint(uint64(id), 10), Path: it.Path, Size: it.Size, Time: it.Time, Base: string(it.ETag), data: it.data}
		switch it.Op {
		case intentStaged:
			k.ID, k.Reason = stagedID+k.ID, "a temporary file that was not renamed; the next mount shows it again"
		case intentPut:
			k.ID, k.Reason = unsentID+k.ID, "waits to be sent; the next mount sends it"
		default:
			return
		}
		if it.File != "" {
			k.File = filepath.Join(dir, "staged", it.File)
		}
		all = append(all, k)
	})
	return all, err
}

// dropIntent takes a file out of the journal of a gateway that has ended.
func dropIntent(dir, number string) error {
	s, err := openStateDir(dir, time.Now())
	if err != nil {
		return fmt.Errorf("drop kept version: %w", err)
	}
	defer s.close()
	j, left, err := journal.Open(s.journalDir(), journal.Options{})
	if err != nil {
		return fmt.Errorf("drop kept version: %w", err)
	}
	id, err := strconv.ParseUint(number, 10, 64)
	if err == nil && !slices.ContainsFunc(left, func(e journal.Entry) bool { return uint64(e.ID) == id }) {
		err = os.ErrNotExist
	}
	if err != nil {
		return errors.Join(fmt.Errorf("drop kept version %s: %w", number, err), j.Close())
	}
	j.Done(journal.ID(id))
	return j.Close()
}
