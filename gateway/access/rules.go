package access

import (
	"errors"
	"fmt"
	"strings"
)

// Level is how much a user may do on a path.
type Level uint8

// The levels; each has those before it.
const (
	None Level = iota
	Read
	Write
)

// Names that rules know beside those of users.
const (
	everybody = "*" // who has shown credentials

	// Anonymous is who has shown none.
	Anonymous = "anonymous"
)

// Rules are who may do what where. The zero value lets everybody do everything.
type Rules struct{ list []rule }

type rule struct {
	user  string
	path  string // relative to the root, without slashes around it; the root is ""
	level Level
}

var levels = map[string]Level{"none": None, "read": Read, "write": Write}

// parseRules reads lines of USER PATH LEVEL. A path may have spaces; it is the
// directory or file with all below it.
func parseRules(name string, text []byte) (Rules, error) {
	r := Rules{list: []rule{}}
	err := eachLine(name, text, func(line string) error {
		user, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		rest = strings.TrimSpace(rest)
		i := strings.LastIndexByte(rest, ' ')
		if i < 0 {
			return errors.New("not USER PATH LEVEL")
		}
		level, ok := levels[rest[i+1:]]
		if !ok {
			return fmt.Errorf("%q is not none, read or write", rest[i+1:])
		}
		if user != everybody && user != Anonymous {
			if err := checkUser(user); err != nil {
				return err
			}
		}
		path, err := cleanPath(strings.TrimSpace(rest[:i]))
		if err != nil {
			return err
		}
		r.list = append(r.list, rule{user, path, level})
		return nil
	})
	return r, err
}

// level returns what user may do on path. A rule that names the user wins over
// one for everybody with the same path, and a later line over an earlier one.
func (r Rules) level(user, path string) Level {
	if r.list == nil {
		return Write
	}
	best, found := None, -1
	for _, c := range r.list {
		if !c.concerns(user) || !below(path, c.path) {
			continue
		}
		weight := 2 * len(c.path)
		if c.user == user {
			weight++
		}
		if weight >= found {
			best, found = c.level, weight
		}
	}
	return best
}

// levelOfTree returns what user may do on path and everything below it.
func (r Rules) levelOfTree(user, path string) Level {
	least := r.level(user, path)
	for _, c := range r.list {
		if c.concerns(user) && below(c.path, path) {
			least = min(least, r.level(user, c.path))
		}
	}
	return least
}

func (c rule) concerns(user string) bool {
	return c.user == user || c.user == everybody && user != Anonymous
}

// below reports whether path is dir or in it.
func below(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (dir == "" || rest == "" || rest[0] == '/')
}
