// Made from the Python types: see tests/unit/test_panel_types.py. Not to be edited by hand.

/** A number; what JSON does not know is a text. `Number(value)` reads both. */
export type Float = number | 'NaN' | 'Infinity' | '-Infinity';

/** An ISO 8601 time with its zone. */
export type Time = string;

/** What a person may ask of a running rollout. */
export type Action =
  | 'promote'
  | 'promote-full'
  | 'abort'
  | 'retry';

/** One analysis run of a canary. */
export interface Analysis {
  name: string;
  phase: Phase;
  weight: number | null;
  metrics: RolloutMeasured[];
  message: string;
  created: Time | null;
}

/** What Argo CD says of a deployment. */
export interface Application {
  name: string;
  sync: string;
  health: string;
  revision: string;
  message: string;
  url: string;
  can_sync: boolean;
  windows: SyncWindow[];
  synced: Time | null;
}

/** A version that the one proposed is compared with. */
export interface Beside {
  version: string;
  role: string;
  metrics: Record<string, EvidenceMeasured>;
  differences: Record<string, EvidenceMeasured>;
  has_rows: boolean;
  note: string;
}

/** What ends a canary, as `[environments.NAME.limits]` of mlops.toml says. */
export interface CanaryLimits {
  p95_ratio: Float;
  error_difference: Float;
  error_share: Float;
  p95_seconds: Float;
  ttft_ratio: Float;
  tpot_ratio: Float;
  quality: Float;
  min_requests: number;
}

/** Shares of traffic a new version is given, one after the other. */
export interface CanaryPlan {
  weights: number[];
  minutes: number;
}

/** A model version, with what it came from and where it went. */
export interface Chain {
  model: string;
  version: number;
  digest: string;
  aliases: string[];
  registered: Time | null;
  run: string;
  tracking_id: string;
  notebook: string;
  notebook_digest: string;
  code_commit: string;
  code_repository: string;
  datasets: [string, string, string][];
  deployments: Deployed[];
  open_pulls: OpenPull[];
  serving: Serving[];
}

/** One gate, judged. */
export interface Check {
  gate: string;
  outcome: Outcome;
  value: Float | null;
  low: Float | null;
  high: Float | null;
  threshold: Float | null;
  baseline: string;
  n: number;
  reason: string;
}

/** The way to an environment's cluster, as `[environments.NAME]` of mlops.toml says. */
export interface ClusterAccess {
  argocd: string;
  argocd_token: string;
  argocd_token_file: string;
  argocd_project: string;
  argocd_ca: string;
  application: string;
  kubeconfig: string;
  context: string;
}

/** Runs to be read side by side. */
export interface Comparison {
  runs: Run[];
}

/** Data that was staged. */
export interface Dataset {
  name: string;
  uri: string;
  digest: string;
  size: number;
  rows: number | null;
}

/** Runs that were deleted, or brought back. */
export interface Deleted {
  runs: string[];
  is_restored: boolean;
  lost: string[];
}

/** One line of the audit trail: a version came to an environment. */
export interface Deployed {
  when: Time;
  action: string;
  environment: string;
  model: string;
  version: number;
  previous: number;
  requested_by: string;
  merged_by: string;
  reason: string;
  lock: LockFile | null;
  pull_request: number;
  commit: string;
}

/** A version on its way to an environment. */
export interface Deployment {
  version: ModelVersion;
  environment: Environment;
  previous: number;
  pull_request: PullRequest | null;
  files: Record<string, string | null>;
  body: string;
  diff: string;
  action: string;
}

/** What was deployed where, newest first. */
export interface DeploymentHistory {
  deployments: Deployed[];
}

/** Every configured part, tried. */
export interface Diagnosis {
  probes: Probe[];
}

/** What a run is at, or waits for. */
export interface Doing {
  run: string;
  time: Time;
  text: string;
  kind: 'doing';
}

/** The four figures of one model in one environment, or of all together. */
export interface Dora {
  model: string;
  environment: string;
  deployments: number;
  per_week: Float;
  lead_time: Times;
  failed: number;
  fail_rate: Float | null;
  recovery: Times;
  unrecovered: number;
}

/** The four figures. */
export interface DoraReport {
  since: Time;
  until: Time;
  rows: Dora[];
  total: Dora;
  notes: string[];
}

/** What was written to go on without this tool. */
export interface Ejected {
  folder: string;
  files: string[];
  commands: string[];
}

/** A place models are deployed to, as `[environments.NAME]` of mlops.toml says. */
export interface Environment {
  name: string;
  namespace: string;
  gates: string[];
  canary: CanaryPlan;
  replicas: number;
  target: string;
  router: string;
  server: string;
  image: string;
  images: Record<string, string>;
  download_image: string;
  host: string;
  gateway: string;
  monitor: string;
  metrics_url: string;
  alias: string;
  allow_pickle: boolean;
  cpu: string;
  memory: string;
  gpu: number;
  gpu_resource: string;
  shm: string;
  dynamic_stable_scale: boolean;
  limits: CanaryLimits;
  quality_job: string;
  pull_secret: string;
  model_secret: string;
  secret_store: string;
  kserve_version: string;
  repository: string;
  access: ClusterAccess | null;
}

/** What speaks for a deployment: `evidence.json` beside its record, which holds its digest. */
export interface Evidence {
  lock: LockFile;
  previous: LockFile | null;
  environment: Environment;
  verdict: Verdict;
  metrics: Record<string, EvidenceMeasured>;
  has_rows: boolean;
  beside: Beside[];
  changed: ParameterChange[];
  datasets: Dataset[];
  is_dirty: boolean;
  code_note: string;
  traffic: Traffic;
  security: Security;
  way_back: string;
}

/** Why a run did not succeed. */
export interface Failure {
  reason: string;
  hint: string;
  cell: number | null;
  ename: string;
  evalue: string;
  traceback: string;
  step: string;
  error: string;
  verdict: Verdict | null;
}

/** Why a verb was not done. */
export interface Fault {
  type: string;
  message: string;
  hint: string;
  exit_code: number;
  verdict: Verdict | null;
}

/** One thing that was checked. */
export interface Finding {
  check: string;
  passed: boolean;
  detail: string;
  hint: string;
}

/** What was seen of deployments, and done about it. */
export interface Followed {
  statuses: Status[];
  done: string[];
  pull_requests: number[];
}

/** A project that is ready for use. */
export interface Initialized {
  folder: string;
  settings: string;
  repository: string;
  created: string[];
}

/** The run's gates were judged. */
export interface Judged {
  run: string;
  time: Time;
  verdict: Verdict;
  kind: 'judged';
}

/** The audit record of a deployment: `models/<model>/overlays/<env>/model.lock.yaml`. */
export interface LockFile {
  model: string;
  version: number;
  environment: string;
  uri: string;
  source: string;
  digest: string;
  image: string;
  run: string;
  tracking_id: string;
  tracking_uri: string;
  notebook: string;
  notebook_digest: string;
  code_commit: string;
  code_repository: string;
  datasets: [string, string, string][];
  parameters: Record<string, string>;
  defaults: Record<string, string>;
  metrics: Record<string, Float>;
  gates: [string, string][];
  canary: string;
  requested_by: string;
  previous: number;
  evidence: string;
}

/** What a run printed. */
export interface Log {
  lines: string[];
}

/** A part of what a run printed. */
export interface LogPart {
  run: string;
  lines: string[];
  first: number;
  next: number;
  is_whole: boolean;
}

/** A pull request that became part of what the cluster follows. */
export interface Merged {
  pull_request: PullRequest;
  model: string;
  environment: string;
  version: number;
  alias: string;
  later_alias: string;
  has_cluster: boolean;
}

/** The notebook logged a metric. */
export interface MetricLogged {
  run: string;
  time: Time;
  name: string;
  value: Float;
  kind: 'metric_logged';
}

/** Versions of registered models, newest first. */
export interface ModelList {
  versions: ModelVersion[];
}

/** One version of a registered model. */
export interface ModelVersion {
  name: string;
  version: number;
  source: string;
  digest: string;
  flavor: string;
  uses_pickle: boolean;
  run: string;
  tracking_id: string;
  aliases: string[];
  tags: Record<string, string>;
  created: Time | null;
}

/** Something a person should know that changes nothing. */
export interface Note {
  text: string;
  kind: 'note';
}

/** A notebook file, read. */
export interface Notebook {
  path: string;
  language: string;
  kernel: string | null;
  parameters: Parameter[];
  parameters_cell: number | null;
  is_tagged: boolean;
  fingerprint: string;
  cells: number;
}

/** An event on Jupyter's event bus. */
export interface Numbered {
  boot: string;
  number: number;
  project: string;
  event: RunMoved | Progress | Doing | MetricLogged | Judged | Registered | Proposed | RolloutMoved | Note;
}

/** A place models are deployed to, as `[environments.NAME]` says. */
export interface OfferedEnvironment {
  name: string;
  namespace: string;
  target: string;
  alias: string;
  has_cluster: boolean;
  weights: number[];
  minutes: Float;
  gates: string[];
}

/** Resources that a run on Kubeflow may have, as `[profiles.NAME]` says. */
export interface OfferedProfile {
  name: string;
  image: string;
  gpu: number;
  gpu_resource: string;
  cpu: string;
  memory: number | null;
  price: Float;
  is_default: boolean;
}

/** A pull request that would bring a version to an environment. */
export interface OpenPull {
  environment: string;
  number: number;
  url: string;
}

/** Result of one gate; only PASSED passes. */
export type Outcome =
  | 'passed'
  | 'failed'
  | 'skipped';

/** A project as its settings describe it; no secret is in it. */
export interface Overview {
  name: string;
  folder: string;
  path: string | null;
  root: string;
  initialized: boolean;
  boot: string;
  number: number;
  executor: string;
  executors: string[];
  kubeflow: string;
  profiles: OfferedProfile[];
  environments: OfferedEnvironment[];
  gates: Record<string, string[]>;
  tracking: string;
  experiment: string;
  forge: string;
  repository: string;
}

/** A parameter that a notebook declares. */
export interface Parameter {
  name: string;
  type: string;
  default: unknown;
  default_text: string;
  has_default: boolean;
  choices: unknown[];
  help: string;
  is_inferred: boolean;
}

/** A parameter that is another than in the version before. */
export interface ParameterChange {
  name: string;
  before: string;
  after: string;
  was_default: boolean;
  is_default: boolean;
}

/** What a measurement, a metric or a whole run came to, as Argo Rollouts words it. */
export type Phase =
  | 'Successful'
  | 'Running'
  | 'Inconclusive'
  | 'Error'
  | 'Failed';

/** Where a run is to go on, and what it is to be given there. */
export interface Placement {
  on: string;
  profile: string;
  gpu: number | null;
  cpu: string;
  memory: number | null;
  image: string;
}

/** One configured part, tried. */
export interface Probe {
  name: string;
  ok: boolean;
  detail: string;
  hint: string;
  seconds: Float;
}

/** How far a run is; sent when a cell begins or ends, and at most a few times a second. */
export interface Progress {
  run: string;
  time: Time;
  cell: number;
  cells: number;
  done: number;
  elapsed: Float;
  last_line: string;
  memory: number;
  peak_memory: number;
  kind: 'progress';
}

/** A deployment pull request was opened or updated. */
export interface Proposed {
  run: string;
  time: Time;
  model: string;
  environment: string;
  pull_request: number;
  url: string;
  kind: 'proposed';
}

/** A pull request as the forge holds it. */
export interface PullRequest {
  number: number;
  state: PullRequestState;
  title: string;
  body: string;
  branch: string;
  head: string;
  url: string;
  author: string;
  created: Time | null;
  merge_commit: string;
  is_new: boolean;
  is_changed: boolean;
  notes: string[];
}

/** Where a pull request stands. */
export type PullRequestState =
  | 'open'
  | 'merged'
  | 'closed';

/** The document of a verb that was not done. */
export interface Refused {
  error: Fault;
}

/** The run's model was registered; `model` is `name/version`. */
export interface Registered {
  run: string;
  time: Time;
  model: string;
  kind: 'registered';
}

/** What a request would submit, had it not been a dry run. */
export interface Rendered {
  files: Record<string, string>;
}

/** A run's executed notebook. */
export interface Resource {
  run: string;
  path: string | null;
  cell: number | null;
  content: Record<string, unknown>;
}

/** A live rollout. */
export interface Rollout {
  phase: RolloutPhase;
  wanted: Served;
  message: string;
  step: number;
  steps: number;
  weight: number;
  stable: Served | null;
  is_observed: boolean;
  pause: string;
  is_aborted: boolean;
  aborted: Time | null;
  aborted_weight: number | null;
  analyses: Analysis[];
}

/** A deployment that is watched came to another stage, step or share of the traffic. */
export interface RolloutMoved {
  status: Status;
  time: Time;
  kind: 'rollout_moved';
}

/** Where a rollout stands, as Argo Rollouts words it. */
export type RolloutPhase =
  | 'Healthy'
  | 'Progressing'
  | 'Paused'
  | 'Degraded'
  | 'Unknown';

/** What became of a run. */
export interface Run {
  id: string;
  notebook: string;
  state: RunState;
  tracking_id: string;
  url: string;
  directory: string;
  parent: string;
  schedule: string;
  parameters: Record<string, unknown>;
  defaults: Record<string, unknown>;
  code_commit: string;
  code_note: string;
  metrics: Record<string, Float>;
  datasets: Dataset[];
  started: Time | null;
  ended: Time | null;
  cells_done: number;
  cells: number;
  last_line: string;
  peak_memory: number;
  failure: Failure | null;
  verdict: Verdict | null;
  model: string;
  pull_request: number | null;
  best: string;
  children: number;
  executor: string;
  address: string;
  doing: string;
  cached_from: string;
  placement: Placement;
  pod_seconds: Float;
}

/** Runs, newest first. */
export interface RunList {
  runs: Run[];
  next: string;
}

/** A run came to another state. */
export interface RunMoved {
  run: string;
  state: RunState;
  time: Time;
  tracking_id: string;
  url: string;
  failure: Failure | null;
  kind: 'run_moved';
}

/** Where a run stands; the last three are final. */
export type RunState =
  | 'queued'
  | 'running'
  | 'succeeded'
  | 'failed'
  | 'cancelled';

/** Run a notebook again and again, at the times that a crontab line says. */
export interface Schedule {
  notebook: string;
  parameters: Record<string, unknown>;
  data: Record<string, string>;
  timeout: Float | null;
  cell_timeout: Float | null;
  memory: number | null;
  kernel: string;
  on: string;
  profile: string;
  gpu: number | null;
  cpu: string;
  image: string;
  parameter_file: string;
  gates: string[];
  register: string;
  deploy: string;
  retries: number;
  cron: string;
  timezone: string;
  catchup: boolean;
  latest: boolean;
  name: string;
  verb: 'schedule';
}

/** Schedules, by name. */
export interface ScheduleList {
  schedules: Scheduled[];
}

/** Whether a schedule starts runs. */
export type ScheduleState =
  | 'active'
  | 'paused'
  | 'deleted';

/** A notebook that is run again and again. */
export interface Scheduled {
  name: string;
  request: Schedule;
  state: ScheduleState;
  when: string;
  next: Time[];
  fingerprint: string;
  tracking_id: string;
  address: string;
  last_run: string;
  last_state: RunState | null;
  changes: string[];
  is_new: boolean;
}

/** What the version brings with it. */
export interface Security {
  flavor: string;
  uses_pickle: boolean;
  image_registry: string;
  is_pinned: boolean;
  is_reachable: boolean;
  secrets: string[];
  registry_before: string;
  signature: string;
  ways_out: string[];
  ways_out_before: string[];
}

/** A version as pods carry it. */
export interface Served {
  version: number;
  digest: string;
  template: string;
}

/** Pods that serve a version now. */
export interface Serving {
  environment: string;
  weight: number;
  template: string;
}

/** One step of a canary. */
export interface Share {
  weight: number;
  real: Float;
  canary: number;
  stable: number;
}

/** How far a deployment is on its way from Git to all of the traffic. */
export type Stage =
  | 'undeployed'
  | 'unseen'
  | 'syncing'
  | 'starting'
  | 'canary'
  | 'paused'
  | 'aborted'
  | 'degraded'
  | 'healthy';

/** A model in an environment: what Git says, what is proposed, what the cluster runs. */
export interface Status {
  model: string;
  environment: string;
  stage: Stage;
  version: number;
  digest: string;
  summary: string;
  drift: string;
  next: string[];
  actions: Action[];
  pull_request: PullRequest | null;
  application: Application | null;
  rollout: Rollout | null;
  trouble: string;
}

/** Where deployments stand. */
export interface StatusList {
  statuses: Status[];
  timed_out: boolean;
}

/** A sweep and its children. */
export interface SweepResult {
  run: Run;
  children: Run[];
  best: string;
}

/** A time in which Argo CD may, or may not, bring Git's state into the cluster. */
export interface SyncWindow {
  kind: string;
  schedule: string;
  duration: string;
  is_active: boolean;
}

/** How long something took. */
export interface Times {
  count: number;
  median: Float | null;
}

/** What belongs together with what was asked for. */
export interface Trace {
  ref: string;
  meant: string[];
  chains: Chain[];
  runs: Run[];
  notes: string[];
}

/** What the canary really comes to. */
export interface Traffic {
  is_canary: boolean;
  shares: Share[];
  seconds: number;
  peak_pods: number;
  peak_accelerators: number;
}

/** All gates of a run, judged. */
export interface Verdict {
  checks: Check[];
}

/** What was found of a change to the GitOps repository. */
export interface Verification {
  base: string;
  head: string;
  passed: boolean;
  deployments: VerifiedDeployment[];
  findings: Finding[];
}

/** What a change does to a model in an environment, and whether it holds. */
export interface VerifiedDeployment {
  model: string;
  environment: string;
  action: string;
  previous: number;
  version: number;
  findings: Finding[];
  verdict: Verdict | null;
  evidence: Evidence | null;
}

/** A file that has a forge's CI verify each pull request. */
export interface Workflow {
  path: string;
  content: string;
}

/** A metric of a version, or the difference of two. */
export interface EvidenceMeasured {
  value: Float;
  low: Float | null;
  high: Float | null;
  rows: number;
}

/** A metric of an analysis, with what it came to. */
export interface RolloutMeasured {
  metric: string;
  phase: Phase;
  value: Float | null;
  judged: string;
  query: string;
  condition: string;
  count: number;
  message: string;
  is_dry_run: boolean;
}

/** What happens while a verb runs. */
export type MlopsEvent = RunMoved | Progress | Doing | MetricLogged | Judged | Registered | Proposed | RolloutMoved | Note;

/** What each verb gives. */
export interface Documents {
  init: Initialized;
  doctor: Diagnosis;
  inspect: Notebook;
  train: Run | Rendered;
  sweep: SweepResult | Run;
  schedule: Scheduled;
  'schedule update': Scheduled;
  'schedule pause': Scheduled;
  'schedule resume': Scheduled;
  'schedule delete': Scheduled;
  schedules: ScheduleList;
  runs: RunList;
  show: SweepResult | Scheduled | Run;
  logs: Log;
  cancel: Run;
  delete: Deleted;
  retry: SweepResult | Run | Status;
  compare: Comparison;
  register: ModelVersion;
  models: ModelList;
  deploy: Deployment;
  merge: Merged;
  status: StatusList;
  promote: Status;
  abort: Status;
  follow: Followed;
  history: DeploymentHistory;
  rollback: Deployment;
  trace: Trace;
  dora: DoraReport;
  'verify-pr': Verification | Workflow;
  eject: Ejected;
}

/** Write mlops.toml and, where no remote is named, a local GitOps repository. */
export interface InitVerb {
  gitops?: string;
  verb: 'init';
}

/** Probe every configured part. */
export interface DoctorVerb {
  timeout?: number;
  inside?: boolean;
  verb: 'doctor';
}

/** Show a notebook's declared parameters. */
export interface InspectVerb {
  notebook: string;
  verb: 'inspect';
}

/** Run a notebook; judge, register and propose its model where asked. */
export interface TrainVerb {
  notebook: string;
  parameters?: Record<string, unknown>;
  data?: Record<string, string>;
  timeout?: number | null;
  cell_timeout?: number | null;
  memory?: number | null;
  kernel?: string;
  on?: string;
  profile?: string;
  gpu?: number | null;
  cpu?: string;
  image?: string;
  parameter_file?: string;
  gates?: string[];
  register?: string;
  deploy?: string;
  retries?: number;
  wait?: boolean | null;
  key?: string;
  dry_run?: boolean;
  verb: 'train';
}

/** Run a notebook once for each set of parameters; limits and places are each child's. */
export interface SweepVerb {
  notebook: string;
  parameters?: Record<string, unknown>;
  data?: Record<string, string>;
  timeout?: number | null;
  cell_timeout?: number | null;
  memory?: number | null;
  kernel?: string;
  on?: string;
  profile?: string;
  gpu?: number | null;
  cpu?: string;
  image?: string;
  file?: string;
  random?: number;
  seed?: number;
  parallel?: number;
  best?: string;
  wait?: boolean | null;
  verb: 'sweep';
}

/** Run a notebook again and again, at the times that a crontab line says. */
export interface ScheduleVerb {
  notebook: string;
  parameters?: Record<string, unknown>;
  data?: Record<string, string>;
  timeout?: number | null;
  cell_timeout?: number | null;
  memory?: number | null;
  kernel?: string;
  on?: string;
  profile?: string;
  gpu?: number | null;
  cpu?: string;
  image?: string;
  parameter_file?: string;
  gates?: string[];
  register?: string;
  deploy?: string;
  retries?: number;
  cron: string;
  timezone?: string;
  catchup?: boolean;
  latest?: boolean;
  name?: string;
  verb: 'schedule';
}

/** Take the notebook as it is now into a schedule, and change the words that are given. */
export interface UpdateScheduleVerb {
  name: string;
  cron?: string;
  timezone?: string;
  catchup?: boolean | null;
  latest?: boolean | null;
  parameters?: Record<string, unknown>;
  parameter_file?: string;
  data?: Record<string, string>;
  gates?: string[];
  register?: string;
  deploy?: string;
  timeout?: number | null;
  cell_timeout?: number | null;
  memory?: number | null;
  retries?: number | null;
  kernel?: string;
  profile?: string;
  gpu?: number | null;
  cpu?: string;
  image?: string;
  verb: 'schedule update';
}

/** Keep a schedule from starting runs. */
export interface PauseScheduleVerb {
  name: string;
  verb: 'schedule pause';
}

/** Let a schedule start runs again. */
export interface ResumeScheduleVerb {
  name: string;
  verb: 'schedule resume';
}

/** Delete a schedule; its runs stay. */
export interface DeleteScheduleVerb {
  name: string;
  verb: 'schedule delete';
}

/** List schedules. */
export interface SchedulesVerb {
  verb: 'schedules';
}

/** List runs, newest first. */
export interface RunsVerb {
  notebook?: string;
  state?: string;
  limit?: number;
  after?: string;
  verb: 'runs';
}

/** Show a run; of a sweep, its children too; a schedule by its name. */
export interface ShowVerb {
  run: string;
  verb: 'show';
}

/** Show what a run printed. */
export interface LogsVerb {
  run: string;
  follow?: boolean;
  verb: 'logs';
}

/** Stop a run. */
export interface CancelVerb {
  run: string;
  verb: 'cancel';
}

/** Delete runs that ended, or bring back what is recorded of them. */
export interface DeleteVerb {
  runs: string[];
  restore?: boolean;
  verb: 'delete';
}

/** Do again what failed: the notebook, or only the step after it; of a sweep, its rest. */
export interface RetryVerb {
  run: string;
  wait?: boolean | null;
  env?: string;
  verb: 'retry';
}

/** Show runs' parameters and metrics side by side. */
export interface CompareVerb {
  runs: string[];
  verb: 'compare';
}

/** Register a run's model, if its gates pass. */
export interface RegisterVerb {
  run: string;
  name: string;
  gates?: string[];
  verb: 'register';
}

/** List registered models' versions. */
export interface ModelsVerb {
  name?: string;
  verb: 'models';
}

/** Propose a model version to an environment. */
export interface DeployVerb {
  model: string;
  to: string;
  canary?: string | null;
  dry_run?: boolean;
  verb: 'deploy';
}

/** Merge a pull request of the GitOps repository. */
export interface MergeVerb {
  number: number;
  verb: 'merge';
}

/** Tell where deployments stand: proposed, merged, synced, canary, healthy. */
export interface StatusVerb {
  model?: string;
  env?: string;
  watch?: boolean;
  interval?: number;
  timeout?: number | null;
  verb: 'status';
}

/** Let a canary go on to its next step; `full` gives it all traffic at once. */
export interface PromoteVerb {
  model: string;
  env: string;
  full?: boolean;
  verb: 'promote';
}

/** End a canary: the stable version gets all traffic back. */
export interface AbortVerb {
  model: string;
  env: string;
  reason?: string;
  verb: 'abort';
}

/** Answer what the cluster did: revert what it aborted, point aliases at what it runs. */
export interface FollowVerb {
  model?: string;
  env?: string;
  once?: boolean;
  interval?: number;
  verb: 'follow';
}

/** Tell who deployed which model when, and with what data, from Git alone. */
export interface HistoryVerb {
  model?: string;
  env?: string;
  limit?: number;
  verb: 'history';
}

/** Propose the return to an earlier version. */
export interface RollbackVerb {
  model: string;
  env: string;
  to?: number;
  reason?: string;
  dry_run?: boolean;
  verb: 'rollback';
}

/** Tell what belongs together: notebook, run, version, commit, pull request, image, pods. */
export interface TraceVerb {
  ref: string;
  verb: 'trace';
}

/** Give deployment frequency, lead time, change fail rate and recovery time. */
export interface DoraVerb {
  model?: string;
  env?: string;
  since?: number;
  verb: 'dora';
}

/** Verify a pull request of the GitOps repository: for its CI. */
export interface VerifyPrVerb {
  repo?: string;
  base?: string;
  head?: string;
  gates?: string[];
  workflow?: string;
  verb: 'verify-pr';
}

/** Write what a submission consists of, to go on without this tool. */
export interface EjectVerb {
  notebook: string;
  parameters?: Record<string, unknown>;
  data?: Record<string, string>;
  timeout?: number | null;
  cell_timeout?: number | null;
  memory?: number | null;
  kernel?: string;
  on?: string;
  profile?: string;
  gpu?: number | null;
  cpu?: string;
  image?: string;
  parameter_file?: string;
  gates?: string[];
  register?: string;
  deploy?: string;
  retries?: number;
  to?: string;
  kubernetes?: boolean;
  model?: string;
  env?: string;
  verb: 'eject';
}

/** What each verb may be told. */
export interface Verbs {
  init: InitVerb;
  doctor: DoctorVerb;
  inspect: InspectVerb;
  train: TrainVerb;
  sweep: SweepVerb;
  schedule: ScheduleVerb;
  'schedule update': UpdateScheduleVerb;
  'schedule pause': PauseScheduleVerb;
  'schedule resume': ResumeScheduleVerb;
  'schedule delete': DeleteScheduleVerb;
  schedules: SchedulesVerb;
  runs: RunsVerb;
  show: ShowVerb;
  logs: LogsVerb;
  cancel: CancelVerb;
  delete: DeleteVerb;
  retry: RetryVerb;
  compare: CompareVerb;
  register: RegisterVerb;
  models: ModelsVerb;
  deploy: DeployVerb;
  merge: MergeVerb;
  status: StatusVerb;
  promote: PromoteVerb;
  abort: AbortVerb;
  follow: FollowVerb;
  history: HistoryVerb;
  rollback: RollbackVerb;
  trace: TraceVerb;
  dora: DoraVerb;
  'verify-pr': VerifyPrVerb;
  eject: EjectVerb;
}

export type Verb = Verbs[keyof Verbs];
