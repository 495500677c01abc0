package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Every setting has one name, spelled in three ways: the flag --dir-ttl, the
// environment variable CAUSEWAY_DIR_TTL and the key dir-ttl of the
// configuration file. The first of the three that is given wins. All of them
// are parsed by the flag's own Set, so that they accept the same text.

const envPrefix = "CAUSEWAY_"

// configFlag names the configuration file itself, and so cannot stand in it.
const configFlag = "config"

// envName returns the environment variable of the flag name.
func envName(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// configurable reports whether f is a setting, and not part of the command
// line's own working.
func configurable(f *pflag.Flag) bool {
	return f.Name != "help" && f.Name != configFlag
}

// settingNames returns the keys that a configuration file may have: one file
// serves all commands, so these are the flags of all of them.
func settingNames(root *cobra.Command) map[string]bool {
	names := map[string]bool{}
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, set := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) {
				if configurable(f) {
					names[f.Name] = true
				}
			})
		}
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(root)
	return names
}

// applyConfig fills the flags of cmd that the command line left alone from the
// environment and then from the configuration file.
func applyConfig(cmd *cobra.Command, getenv func(string) string) error {
	path, err := configPath(cmd, getenv)
	if err != nil {
		return err
	}
	file, err := readConfigFile(path, settingNames(cmd.Root()))
	if err != nil {
		return err
	}
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if failed != nil || f.Changed || !configurable(f) {
			return
		}
		if text := getenv(envName(f.Name)); text != "" {
			if err := cmd.Flags().Set(f.Name, text); err != nil {
				failed = &usageError{fmt.Errorf("environment variable %s: %w", envName(f.Name), unwrapFlagError(err))}
			}
			return
		}
		if node, ok := file[f.Name]; ok {
			if err := setFromYAML(cmd.Flags(), f, &node); err != nil {
				failed = &usageError{fmt.Errorf("%s:%d: %s: %w", path, node.Line, f.Name, unwrapFlagError(err))}
			}
		}
	})
	return failed
}

// unwrapFlagError takes off what pflag puts before the error of a Set, which
// speaks of a flag although the text came from elsewhere.
func unwrapFlagError(err error) error {
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return e.Unwrap()
	}
	return err
}

// configPath returns the configuration file to read, or "" for none. A file
// that was named must exist; the usual places need not.
func configPath(cmd *cobra.Command, getenv func(string) string) (string, error) {
	named := getenv(envName(configFlag))
	if f := cmd.Flags().Lookup(configFlag); f != nil && f.Changed {
		named = f.Value.String()
	}
	if named != "" {
		if _, err := os.Stat(named); err != nil {
			return "", &usageError{fmt.Errorf("read the configuration file: %w", err)}
		}
		return named, nil
	}
	for _, path := range usualConfigPaths(getenv) {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read the configuration file: %w", err)
		}
	}
	return "", nil
}

// usualConfigPaths are tried in order; the first file that exists is the only
// one read.
func usualConfigPaths(getenv func(string) string) []string {
	var paths []string
	if dir := xdgDir(getenv, "XDG_CONFIG_HOME", ".config"); dir != "" {
		paths = append(paths, filepath.Join(dir, "causeway", "causeway.yaml"))
	}
	return append(paths, "/etc/causeway.yaml")
}

// readConfigFile returns the values of the file at path by key. A key that is
// not in known is an error, since a misspelt one would silently do nothing.
func readConfigFile(path string, known map[string]bool) (map[string]yaml.Node, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration file: %w", err)
	}
	var nodes map[string]yaml.Node
	if err := yaml.Unmarshal(data, &nodes); err != nil {
		return nil, &usageError{fmt.Errorf("%s: %w", path, err)}
	}
	for _, key := range slices.Sorted(maps.Keys(nodes)) {
		if !known[key] {
			return nil, &usageError{fmt.Errorf("%s:%d: unknown key %q%s", path, nodes[key].Line, key, didYouMean(key, known))}
		}
	}
	return nodes, nil
}

// didYouMean suggests the known key that differs from key only in case, dashes
// and underscores, if there is one.
func didYouMean(key string, known map[string]bool) string {
	plain := func(s string) string {
		return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s))
	}
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if plain(k) == plain(key) {
			return fmt.Sprintf(" (meant: %s)", k)
		}
	}
	return ""
}

// setFromYAML gives flag f of set the value of node: a scalar, or a list for
// flags that may be repeated.
func setFromYAML(set *pflag.FlagSet, f *pflag.Flag, node *yaml.Node) error {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag != "!!null":
		return set.Set(f.Name, node.Value)
	case node.Kind == yaml.SequenceNode:
		list, ok := f.Value.(pflag.SliceValue)
		if !ok {
			return errors.New("takes one value, not a list")
		}
		var items []string
		if err := node.Decode(&items); err != nil {
			return err
		}
		f.Changed = true
		return list.Replace(items)
	}
	return errors.New("has no value")
}

// xdgDir returns the directory of the environment variable name, or fallback
// in the home directory, or "" when neither is known.
func xdgDir(getenv func(string) string, name, fallback string) string {
	// The XDG base directory specification has relative paths ignored.
	if dir := getenv(name); filepath.IsAbs(dir) {
		return dir
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, fallback)
	}
	return ""
}
