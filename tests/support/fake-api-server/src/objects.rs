//! Writes of objects: versions, generations, preconditions.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    Change, MemoryApiServer, Place, Reply, Version, conflict, fresh_status, not_found,
    refusal::{refusal, success},
    text,
};

const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl MemoryApiServer {
    /// Creates an object; uid, versions and times in `body` are ignored, and so is its status.
    pub fn create(&mut self, place: &Place, mut body: Value) -> Reply {
        let name = text(&body, "/metadata/name").to_owned();
        let place = Place { name, ..place.clone() };
        if self.objects.contains_key(&place) {
            let message = format!("{} \"{}\" already exists", place.resource(), place.name);
            return refusal(409, "AlreadyExists", &message, Some(&place));
        }
        self.made += 1;
        let meta = &mut body["metadata"];
        meta["namespace"] = json!(place.namespace);
        meta["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", self.made));
        meta["creationTimestamp"] = json!(self.now);
        if !place.group.is_empty() {
            meta["generation"] = json!(1);
            body["status"] = fresh_status();
        }
        let stored = self.store(&place, body, Change::Added);
        Reply { code: 201, body: stored }
    }

    /// Replaces everything but the status.
    pub fn replace(&mut self, place: &Place, body: &Value) -> Reply {
        let current = match self.checked(place, body) {
            Ok(current) => current,
            Err(refusal) => return refusal,
        };
        let mut next = body.clone();
        for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "resourceVersion"] {
            match current["metadata"].get(field) {
                Some(value) => next["metadata"][field] = value.clone(),
                None => drop(next["metadata"].as_object_mut().and_then(|meta| meta.remove(field))),
            }
        }
        if let Some(status) = current.get("status") {
            next["status"] = status.clone();
        }
        if next.get("spec") != current.get("spec") {
            next["metadata"]["generation"] =
                json!(current["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        self.update(place, &current, next)
    }

    /// Replaces the status and nothing else.
    pub fn replace_status(&mut self, place: &Place, body: &Value) -> Reply {
        let current = match self.checked(place, body) {
            Ok(current) => current,
            Err(refusal) => return refusal,
        };
        let mut next = Value::clone(&current);
        next["status"] = body.get("status").filter(|s| !s.is_null()).cloned().unwrap_or_else(fresh_status);
        self.update(place, &current, next)
    }

    /// Deletes an object, at once unless it has finalizers.
    pub fn delete(&mut self, place: &Place, options: &Value) -> Reply {
        let Some(current) = self.objects.get(place).cloned() else { return not_found(place) };
        for (field, name) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let wanted = options.pointer(&format!("/preconditions/{field}")).and_then(Value::as_str);
            let is = text(&current, &format!("/metadata/{field}"));
            if let Some(wanted) = wanted.filter(|wanted| *wanted != is) {
                let why = format!(
                    "Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {is}"
                );
                return conflict(place, &why);
            }
        }
        if has_finalizers(&current) {
            let mut next = Value::clone(&current);
            if next["metadata"].get("deletionTimestamp").is_none() {
                next["metadata"]["deletionTimestamp"] = json!(self.now);
                next["metadata"]["generation"] =
                    json!(current["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
            }
            return self.update(place, &current, next);
        }
        let uid = text(&current, "/metadata/uid").to_owned();
        self.store(place, Value::clone(&current), Change::Deleted);
        success(place, &uid)
    }

    /// Edits an object at its current version, as a user does. False if it does not exist.
    pub fn edit(&mut self, place: &Place, edit: impl FnOnce(&mut Value)) -> bool {
        let Some(current) = self.objects.get(place).cloned() else { return false };
        let mut next = Value::clone(&current);
        edit(&mut next);
        self.replace(place, &next).code == 200
    }

    /// The object that a write names, if its preconditions (uid, resourceVersion) hold.
    fn checked(&self, place: &Place, body: &Value) -> Result<Arc<Value>, Reply> {
        let Some(current) = self.objects.get(place).cloned() else { return Err(not_found(place)) };
        let (uid, is) = (text(body, "/metadata/uid"), text(&current, "/metadata/uid"));
        if !uid.is_empty() && uid != is {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {is}");
            return Err(conflict(place, &why));
        }
        let version = text(body, "/metadata/resourceVersion");
        if version.is_empty() && !place.group.is_empty() {
            let message = format!(
                "{} \"{}\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
                place.resource(),
                place.name
            );
            return Err(refusal(422, "Invalid", &message, Some(place)));
        }
        if !version.is_empty() && version != text(&current, "/metadata/resourceVersion") {
            return Err(conflict(place, MODIFIED));
        }
        Ok(current)
    }

    /// Stores a change. A write that changes nothing makes no new version.
    fn update(&mut self, place: &Place, current: &Arc<Value>, next: Value) -> Reply {
        if next == **current {
            return Reply { code: 200, body: current.clone() };
        }
        let leaving = next["metadata"].get("deletionTimestamp").is_some() && !has_finalizers(&next);
        let stored = self.store(place, next, if leaving { Change::Deleted } else { Change::Modified });
        Reply { code: 200, body: stored }
    }

    fn store(&mut self, place: &Place, mut object: Value, change: Change) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        match change {
            Change::Deleted => drop(self.objects.remove(place)),
            Change::Added | Change::Modified => drop(self.objects.insert(place.clone(), object.clone())),
        }
        let version =
            Version { place: place.clone(), change, revision: self.revision, object: object.clone() };
        self.history.push(version);
        object
    }
}

fn has_finalizers(object: &Value) -> bool {
    object.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}
