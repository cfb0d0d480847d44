package api

import (
	"encoding/json"

	"sallyport/host/internal/model"
)

// Document is an entity as the API and files have it.
type Document struct {
	APIVersion string          `json:"apiVersion"`
	Kind       model.Kind      `json:"kind"`
	Metadata   model.Metadata  `json:"metadata"`
	Spec       json.RawMessage `json:"spec"`
	// Status is what the host reports, such as how an issuer's keys are. It is no
	// part of what is written.
	Status any `json:"status,omitempty"`
}

// UserStatus is the status of a user.
type UserStatus struct {
	// ID is unique among all users that ever were, unlike the name.
	ID string `json:"id"`
}

// DocumentOf returns the document of an entity, without a status.
func DocumentOf(e model.Entity) (Document, error) {
	spec, err := json.Marshal(e)
	if err != nil {
		return Document{}, err
	}
	return Document{APIVersion: model.APIVersion, Kind: e.Kind(), Metadata: *e.Meta(), Spec: spec}, nil
}
