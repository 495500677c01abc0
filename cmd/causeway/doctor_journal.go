package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

// checkJournals looks at the journal that a mount of t would take up, or
// without t and --state-dir at all in the default place.
func (a *app) checkJournals(d *diagnosis, s *settings, t target) error {
	if t.Bucket == "" && s.stateDir == "" {
		dirs, err := a.defaultStateDirs()
		for _, dir := range dirs {
			checkJournal(d, dir)
		}
		return err
	}
	dir, err := a.stateDirFor(s, t)
	if err == nil {
		checkJournal(d, dir)
	}
	return err
}

// checkJournal looks for what the journal in stateDir has lost, and for what it
// holds although no mount is there to send it.
func checkJournal(d *diagnosis, stateDir string) {
	dir := filepath.Join(stateDir, "journal")
	if !isDir(dir) {
		return
	}
	// The pattern is valid unless the directory's name is a strange one.
	damaged, _ := filepath.Glob(filepath.Join(dir, "*.damaged*"))
	if len(damaged) > 0 {
		d.warn("journal", fmt.Sprintf("%s: %s damaged and set aside, last on %s; changes that were acknowledged before may be lost",
			dir, plural(int64(len(damaged)), "part"), lastChange(damaged)),
			"Check the disk, and compare what was written before then with the bucket; delete the *.damaged files when that is done")
	}
	n, err := vfs.Unsent(stateDir)
	switch {
	case err != nil:
		d.fail("journal", fmt.Sprintf("%s: %v", dir, err), "Keep the directory: it may hold what is not in S3. Mount with another --state-dir meanwhile")
	case n > 0:
		d.warn("journal", fmt.Sprintf("%s: %s not in S3 yet, and no mount sends them", stateDir, plural(int64(n), "change")),
			"Mount "+bucketOf(stateDir)+" with this --state-dir; causeway recover lists the files among them")
	case len(damaged) == 0:
		d.ok("journal", "%s: nothing waits for a mount", stateDir)
	}
}

// lastChange returns the day on which the newest of the files was written.
func lastChange(files []string) string {
	var last time.Time
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last.Local().Format(time.DateTime)
}

// bucketOf names the bucket that the state directory belongs to.
func bucketOf(stateDir string) string {
	text, err := os.ReadFile(filepath.Join(stateDir, "bucket"))
	if name := strings.TrimSpace(string(text)); err == nil && name != "" {
		return name
	}
	return "its bucket"
}
