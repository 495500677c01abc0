package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayfs/causeway/vfs"
)

func newRecover(a *app) *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "List, copy out or drop versions that could not be committed",
		Long: `When a file cannot be committed, because S3 refuses it or somebody else replaced
the file since it was opened, the call that wrote it fails and its bytes are
kept in the state directory. recover lists these versions; of a mount that has
ended also temporary files, and files that wait to be sent by the next mount.

Without --state-dir it looks at every state directory in the default place. It
works whether or not the bucket is mounted.`,
		Example: `  causeway recover                       # list them
  causeway recover cp 3f2a ~/notes.txt   # write one to a new file
  causeway recover drop 3f2a 77c0        # delete two for good`,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return a.listKept(s) },
	}
	s.stateFlag(cmd.PersistentFlags())
	cmd.PersistentFlags().BoolVar(&s.json, "json", false, "print JSON")
	cmd.AddCommand(&cobra.Command{
		Use:   "cp ID DEST",
		Short: "Copy a kept version to the new file DEST, or into the directory DEST",
		Args:  usage(cobra.ExactArgs(2)),
		RunE:  func(_ *cobra.Command, args []string) error { return a.copyKept(s, args[0], args[1]) },
	}, &cobra.Command{
		Use:   "drop ID...",
		Short: "Delete kept versions for good",
		Args:  usage(cobra.MinimumNArgs(1)),
		RunE:  func(_ *cobra.Command, args []string) error { return a.dropKept(s, args) },
	})
	return cmd
}

// kept is a kept version and the state directory that it is in.
type kept struct {
	vfs.KeptVersion
	StateDir string `json:"state_dir"`
}

// findKept returns the kept versions of the state directory that was named, or
// of all in the default place.
func (a *app) findKept(s *settings) ([]kept, error) {
	dirs := []string{s.stateDir}
	if s.stateDir == "" {
		var err error
		if dirs, err = a.defaultStateDirs(); err != nil {
			return nil, err
		}
	}
	all := []kept{}
	for _, dir := range dirs {
		versions, err := vfs.Kept(dir)
		if err != nil {
			return nil, fmt.Errorf("read the kept versions of %s: %w", dir, err)
		}
		for _, v := range versions {
			all = append(all, kept{v, dir})
		}
	}
	return all, nil
}

// defaultStateDirs returns the state directories in the default place, and the
// one of causeway up.
func (a *app) defaultStateDirs() ([]string, error) {
	home, err := stateHome(a.getenv, a.uid)
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(home, "*-????????"))
	if err != nil {
		return nil, fmt.Errorf("look for state directories: %w", err)
	}
	if data, err := dataDir(a.getenv); err == nil {
		if dir := upStateDir(data); isDir(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

func isDir(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

func (a *app) listKept(s *settings) error {
	all, err := a.findKept(s)
	if err != nil {
		return err
	}
	if s.json {
		return writeJSON(a.stdout, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(a.stdout, "nothing to recover")
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tWHEN\tSIZE\tPATH\tWHY\tSTATE DIRECTORY")
	for _, v := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n",
			v.ID, v.Time.Local().Format(time.DateTime), humanSize(v.Size), v.Path, oneLine(v.Reason), v.StateDir)
	}
	return w.Flush()
}

// oneKept returns the kept version with the given ID.
func (a *app) oneKept(s *settings, id string) (kept, error) {
	all, err := a.findKept(s)
	if err != nil {
		return kept{}, err
	}
	var found []kept
	for _, v := range all {
		if v.ID == id {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return kept{}, &problem{"find " + id, errors.New("no kept version has this ID"), "causeway recover lists them"}
	}
	return kept{}, &problem{"find " + id, errors.New("more than one state directory has this ID"), "Choose one with --state-dir"}
}

func (a *app) copyKept(s *settings, id, dest string) error {
	v, err := a.oneKept(s, id)
	if err != nil {
		return err
	}
	if isDir(dest) {
		dest = filepath.Join(dest, path.Base(v.Path))
	}
	if err := copyFile(v.KeptVersion, dest); err != nil {
		p := &problem{what: "copy " + id + " to " + dest, err: err}
		if errors.Is(err, fs.ErrExist) {
			p.remedy = "Choose a name that is not taken"
		}
		return p
	}
	fmt.Fprintf(a.stdout, "%s: %s\n", dest, humanSize(v.Size))
	return nil
}

// copyFile writes a version to the new file dest and makes it durable. What was
// written of a copy that failed is removed.
func copyFile(v vfs.KeptVersion, dest string) (err error) {
	in, err := v.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			os.Remove(dest)
		}
	}()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

func (a *app) dropKept(s *settings, ids []string) error {
	for _, id := range ids {
		v, err := a.oneKept(s, id)
		if err != nil {
			return err
		}
		if err := vfs.DropKept(v.StateDir, id); err != nil {
			return &problem{what: "drop " + id, err: err}
		}
		fmt.Fprintf(a.stdout, "dropped %s (%s)\n", id, v.Path)
	}
	return nil
}
