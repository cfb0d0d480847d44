package manifest

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"sallyport/host/internal/model"
)

// Document is an entity as it was written, and where.
type Document struct {
	Entity model.Entity
	File   string // as given; "-" is standard input
	Line   int

	root *yaml.Node // for the places of its fields
}

// Entities returns the entities of docs.
func Entities(docs []Document) []model.Entity {
	entities := make([]model.Entity, len(docs))
	for i := range docs {
		entities[i] = docs[i].Entity
	}
	return entities
}

// document reads one document; of a suite of tests, which is no entity, it keeps
// what it says in d.suites. The result is valid if no error was collected.
func (d *decoder) document(root *yaml.Node) Document {
	doc := Document{File: d.file, Line: root.Line, root: root}
	if !d.plainNode(root, "", 0) {
		return doc
	}
	if root.Kind != yaml.MappingNode {
		d.errorf(root, "", "expected a document with apiVersion, kind, metadata and spec, got %s", got(root))
		return doc
	}
	kind, ok := d.kind(root)
	if !ok {
		return doc
	}
	if kind == kindPolicyTest {
		d.suite(root)
		return doc
	}
	before := len(d.errs)
	value := d.value(root, documentOf(kind), "", 1)
	if len(d.errs) > before {
		return doc
	}
	entity, err := build(kind, value)
	if err != nil {
		d.errorf(root, "", "%s", err)
		return doc
	}
	doc.Entity = entity
	return doc
}

// kind returns the document's kind, on which the rest of its fields depends.
func (d *decoder) kind(root *yaml.Node) (model.Kind, bool) {
	names := allKindNames()
	i := slices.IndexFunc(root.Content, func(n *yaml.Node) bool { return n.Value == "kind" })
	if i < 0 || i%2 != 0 {
		d.errorf(root, "kind", "is required: expected %s", joinOr(names))
		return "", false
	}
	n := root.Content[i+1]
	if n.Kind != yaml.ScalarNode || !slices.Contains(names, n.Value) {
		d.errorf(n, "kind", "expected %s, got %s%s", joinOr(names), got(n), didYouMean(n.Value, names))
		return "", false
	}
	return model.Kind(n.Value), true
}

// build makes the entity of a value that its schema allows. The types of package
// model have the schema's fields, so an error here is one that the schema could
// not see.
func build(kind model.Kind, value any) (model.Entity, error) {
	fields := value.(map[string]any)
	entity := model.New(kind)
	if err := convert(fields["metadata"], entity.Meta()); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if spec, ok := fields["spec"]; ok {
		if err := convert(spec, entity); err != nil {
			return nil, fmt.Errorf("spec: %w", err)
		}
	}
	return entity, nil
}

func convert(value, into any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
